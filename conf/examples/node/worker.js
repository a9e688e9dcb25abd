// SPDX-License-Identifier: MIT
// A worker in JavaScript for a pool with handler = program (node.conf): Node serves HTTP on the socket that it inherits
// as descriptor 3. Node has no datagram sockets of the unix kind, so systemd-notify(1) says that it is ready, from a
// process of its own: the pool has notify_access = group.
'use strict';
const http = require('node:http');
const { execFile } = require('node:child_process');

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain');
  response.end(`hello from worker ${process.pid}\n`);
});

function notify(...words) {
  if (process.env.NOTIFY_SOCKET) {
    execFile('systemd-notify', words, (error) => error && console.error(error.message));
  }
}

// Finishes the requests under way; idle connections are closed.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

server.listen({ fd: 3 }, () => notify('--ready', '--status=serving'));

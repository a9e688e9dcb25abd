# SPDX-License-Identifier: MIT
"""The parts of the benchmark; bench.py puts them together."""

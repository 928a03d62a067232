"""Helpers of the tests: real servers, rows, files and recorded traffic."""

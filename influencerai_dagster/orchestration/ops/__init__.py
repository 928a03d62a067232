"""Ops that hold the GPU: each calls one function of stages/ and reports progress."""

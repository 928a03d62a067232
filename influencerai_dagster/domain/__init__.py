"""Pure values and rules: no input, no output, no clock. What needs a server lives above."""

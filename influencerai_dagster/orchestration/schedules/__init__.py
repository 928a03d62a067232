"""One module per noun: what runs at a time of day, each with its time zone."""

"""Who is asking: passwords, tokens, API keys, and what each may do."""

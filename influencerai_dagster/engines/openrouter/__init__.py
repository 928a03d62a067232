"""Request chat completions of OpenRouter; responses are cached in db/response_cache.py."""

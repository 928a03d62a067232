"""OpenRouter: chat completions over HTTP. Responses are cached in db/response_cache.py."""

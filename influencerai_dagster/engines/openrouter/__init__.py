"""OpenRouter: chat completions over HTTP. Budgets and caches live in catalog/."""

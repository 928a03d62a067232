"""Simulate OpenRouter: its shapes and its failures, without a model behind them."""

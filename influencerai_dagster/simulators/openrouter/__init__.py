"""A simulated OpenRouter: its shapes and its failures, no model behind them."""

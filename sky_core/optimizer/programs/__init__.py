"""Integer programs, and the solvers behind them."""

"""Hyperparameters by Optuna."""

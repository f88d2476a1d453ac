"""Guerdon: the reward layer of reinforcement learning."""

from guerdon.batch import Pairs, Rollouts
from guerdon.method import method, methods, paper

__version__ = "0.1.0"
__all__ = ["Pairs", "Rollouts", "method", "methods", "paper"]

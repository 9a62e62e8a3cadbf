"""Facial-expression models under shared, honest protocols."""

from fer_bench.registry import create_model, get_spec, list_models

__version__ = "0.1.0"
__all__ = ["create_model", "get_spec", "list_models"]

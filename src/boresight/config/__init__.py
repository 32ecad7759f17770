"""Recipes: YAML files checked into typed sections."""

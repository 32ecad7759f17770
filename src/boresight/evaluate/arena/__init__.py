"""A page on which people vote, blind, between the answers of two systems."""

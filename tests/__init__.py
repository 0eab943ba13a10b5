"""Tests, laid out by how real they are: unit, differential, live, fault, bench."""

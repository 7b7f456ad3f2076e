"""Tests of how the service is deployed."""

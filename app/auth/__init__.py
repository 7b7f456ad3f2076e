"""Who makes a request: API keys, their callers, and rate limits."""

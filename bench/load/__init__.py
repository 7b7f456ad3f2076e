"""The load that one API process and one worker can handle, compared with a bare implementation of the same work."""

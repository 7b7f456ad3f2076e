"""What requests and answers pass: middleware, dependencies, errors as problem+json, pages, cursors, streams, files."""

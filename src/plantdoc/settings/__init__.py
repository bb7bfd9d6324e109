"""All of params.yaml, with the sections that change no result. No stage imports this room."""

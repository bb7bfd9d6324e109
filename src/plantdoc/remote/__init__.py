"""DVC's remote and cache: where they are, what they hold, what is wrong there, what nothing needs."""

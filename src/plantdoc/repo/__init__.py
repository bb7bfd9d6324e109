"""git and DVC: commands, revisions, remotes, hashes."""

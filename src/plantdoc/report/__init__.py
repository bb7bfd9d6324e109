"""What a reviewer reads about two revisions: figures, charts, pictures, as one page of GitHub's Markdown."""

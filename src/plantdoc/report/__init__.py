"""Report on two revisions for a reviewer: figures, charts, pictures, as one page of GitHub's Markdown."""

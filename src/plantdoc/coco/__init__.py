"""COCO annotations and COCO metrics."""

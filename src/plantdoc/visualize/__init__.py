"""Pictures with boxes, and galleries of them."""

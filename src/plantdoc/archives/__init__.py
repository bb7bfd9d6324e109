"""Archives from strangers, unpacked with bounds."""

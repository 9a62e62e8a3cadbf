"""One file per paper: the layer table, the recipes, the reported numbers."""

"""Files as napari's layers and layers as files: what napari's own menus open and save. Knows no Qt."""

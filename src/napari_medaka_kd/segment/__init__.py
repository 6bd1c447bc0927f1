"""Volume + checkpoint → organ labels and uncertainty, tile by tile, in constant memory."""

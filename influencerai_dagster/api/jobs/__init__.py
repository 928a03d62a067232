"""Generation jobs: order, look at, cancel and retry images, videos and upscales."""

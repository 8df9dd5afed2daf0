"""Read handwritten digits through TensorFlow Serving's API. No TensorFlow needed."""

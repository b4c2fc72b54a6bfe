"""The demo model: a generator of pictures, questions and answers, and the training of a small model on them."""

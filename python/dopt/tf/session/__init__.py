"""The plug-in on graphs of TensorFlow 1, run by sessions: quantizers put into the graph that the user built."""

"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

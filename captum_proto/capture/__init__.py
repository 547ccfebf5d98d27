"""
Every layer's output during one forward pass, by dotted name, in the order in which the layers return.

Activations belong to a *call* of a layer, not to the layer: torchvision's ResNet calls one ReLU twice per block, and in-place operations
change a tensor after the layer has returned it. Outputs are therefore read inside the hook, when they are what the layer returned.
"""

from captum_proto.capture.change import changed_output
from captum_proto.capture.channels import channel_axes, channel_axis, channels_first
from captum_proto.capture.consistency import warn_of_layers, warn_of_outputs
from captum_proto.capture.hooks import forward_hooks
from captum_proto.capture.plan import Capture, LayerOutput, PreviousOutput, capture
from captum_proto.capture.recorder import LayerRecorder, Source
from captum_proto.capture.redirection import redirected_activations
from captum_proto.capture.selection import Layer, LayerSelection, find_layer, find_output, select_layers
from captum_proto.capture.unreadable import check_differentiable, check_weights, gradients_told

__all__ = [
    "Capture",
    "Layer",
    "LayerOutput",
    "LayerRecorder",
    "LayerSelection",
    "PreviousOutput",
    "Source",
    "capture",
    "changed_output",
    "channel_axes",
    "channel_axis",
    "channels_first",
    "check_differentiable",
    "check_weights",
    "find_layer",
    "find_output",
    "forward_hooks",
    "gradients_told",
    "redirected_activations",
    "select_layers",
    "warn_of_layers",
    "warn_of_outputs",
]

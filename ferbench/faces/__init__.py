"""Faces in pictures: found by a detector, one of them chosen, and the picture cut to it."""

from ferbench.components import Face
from ferbench.faces.finding import found_faces, main_face
from ferbench.faces.geometry import MODES, PLACES, cut, whole

__all__ = ["MODES", "PLACES", "Face", "cut", "found_faces", "main_face", "whole"]

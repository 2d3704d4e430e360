"""Checks of the exercises: they name the likely mistake, and accept any way of being right.

One module for each lesson, `lesson_00` and so on, with one function for each task.
"""

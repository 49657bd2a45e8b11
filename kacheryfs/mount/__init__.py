"""chapter: to be written"""

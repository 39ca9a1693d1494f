import unittest

from duration import seconds


class Durations(unittest.TestCase):
    def test_one_unit(self):
        self.assertEqual(seconds("45s"), 45)

    def test_units_add_up(self):
        self.assertEqual(seconds("1h30m"), 5400)

    def test_what_is_no_duration_is_refused(self):
        with self.assertRaises(ValueError):
            seconds("soon")

"""What a reading is and which features are made of it: the sensor contract."""

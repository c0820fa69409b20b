"""Where stages run. One executor today: in this process, one stage after the other."""

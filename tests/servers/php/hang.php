<?php
sleep(600);

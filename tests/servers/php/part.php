<?php
echo str_repeat("x", 20000);
flush();
sleep(600);

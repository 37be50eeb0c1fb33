<?php
echo "done\n";

"What reports are made of: the matplotlib style, the style sheet, the script and the page templates"

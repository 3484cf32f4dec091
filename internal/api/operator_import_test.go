package api

var isCSV = header("Content-Type", "text/csv")

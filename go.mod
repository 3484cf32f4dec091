module github.com/switchhook/switchhook

go 1.26

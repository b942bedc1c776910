#!/bin/sh
echo main
echo next
echo experiment
echo old-website
echo hotfix

"""A small shop with every shape of product that the generic catalogue meets."""

from __future__ import annotations

import uuid

from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """The plain case: integer key, picture on the product."""

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    category = models.ForeignKey(Category, models.SET_NULL, null=True, blank=True)
    image = models.ImageField(upload_to="products", blank=True)

    def __str__(self) -> str:
        return self.name


class Garment(models.Model):
    """Key of another type, pictures in a table of their own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=50, blank=True)

    def __str__(self) -> str:
        return self.title


class GarmentPhoto(models.Model):
    garment = models.ForeignKey(Garment, models.CASCADE, related_name="photos")
    photo = models.ImageField(upload_to="garments")
    caption = models.CharField(max_length=200, blank=True)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"{self.garment_id} {self.position}"


class Slugged(models.Model):
    """A text key."""

    sku = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    picture = models.ImageField(upload_to="slugged", null=True, blank=True)

    def __str__(self) -> str:
        return self.name
